"""For the tests of users: fixtures, planes that fail on demand, rough links, and assertions."""
