"""What sinks share that send to an HTTP server, whatever protocol they speak with it.

``settings`` are those that say which server, and how it is to be known; ``authorization`` is the token as a header.
``transport`` sends a request, with all its bounds; ``answers`` says what an answer means by its status; ``bisection``
finds what of a request a server refuses. ``sender`` puts a sink's own client around these to use: with the token of the
day, and the agent's errors.
"""
