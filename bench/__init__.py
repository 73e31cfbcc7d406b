"""`make bench`: what sandrun costs, beside what else there is. Not part of what is tested: numbers need a quiet machine."""
