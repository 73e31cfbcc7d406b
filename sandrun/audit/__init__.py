"""What a command could still reach or leave behind under a plan."""
