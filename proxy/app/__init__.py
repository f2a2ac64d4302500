"""The composition root: settings become objects here, and nowhere else.

Who needs the store alone imports no server; hence nothing is imported here.
"""
