"""All metadata is in setup.cfg; this file only lets tools that expect a setup.py find it."""

from setuptools import setup

setup()
