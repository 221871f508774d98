"""All services seen together: who feeds whom, how they are, what they get through, and a report on it."""
