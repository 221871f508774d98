"""Who else is there: questions to the plane, who fits whom, and what changes."""
