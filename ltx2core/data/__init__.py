"""From a folder to a list of clips: which, at what size, with which caption, and what was left out and why."""
