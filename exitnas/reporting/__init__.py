"""What people look at while a run goes on and after it: progress, TensorBoard scalars, tables."""
