"""What search and retraining share: batches, optimizers, schedules, evaluation, the run directory, retraining."""
