"""Where settings come from: the environment, a file, a profile, arguments; and which of them wins."""
