"""The results for other programs: RobustBench's, AttackBench's, MLflow and TensorBoard."""
