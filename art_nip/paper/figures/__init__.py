"""The figures of the paper: functions from subjects to matplotlib figures, by name of file."""
