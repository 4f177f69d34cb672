"""Shared pytest options."""


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long harnesses whole")
