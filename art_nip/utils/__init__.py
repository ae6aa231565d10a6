"""What every room needs and no room owns: arrays, checks of what users give, files, seeds."""
