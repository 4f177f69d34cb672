"""SimpleTuner's files, read: its keys as tables, an importer, and a report of what became of every key."""
