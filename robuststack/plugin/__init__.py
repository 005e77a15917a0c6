"""What plugin authors implement, and how plugins are found."""
