"""Requests made up from the specification's OpenAPI files, sent to a box that must answer every one of them properly."""
