"""Who makes a request, as its headers and its connection show, and how others are asked to show it."""
