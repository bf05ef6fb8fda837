"""Algorithms that the definitions beside this file name."""


def clean(frame):
    return frame


def mean(clean):
    return clean.mean("frame")


def unfitting(cleam):
    return cleam


def wanting(clean, dark):
    return clean - dark
