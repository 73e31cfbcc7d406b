"""`sandrun doctor`: what this kernel, this user and this container can enforce, why not more, and what to do."""
