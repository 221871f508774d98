"""What a setting is: how it is written, within which bounds, under which names."""
