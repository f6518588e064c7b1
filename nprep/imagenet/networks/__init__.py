"""The networks of both spaces in torch, what they cost and how long they take."""
