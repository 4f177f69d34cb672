"""What can be known of a run before anything large is loaded: findings, each with a severity and one suggested change."""
