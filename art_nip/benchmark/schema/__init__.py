"""The words and records in a folder of results: a benchmark writes them, its report reads them.

Nothing here needs ART, a framework or pandas.
"""
