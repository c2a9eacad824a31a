"""Learning: runs, model versions, leaderboard, recommendation, retraining."""
