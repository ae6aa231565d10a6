"""How it is computed: tasks, the engines that run them, and the store that keeps their results."""
