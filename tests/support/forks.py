"""Scripts that fork, so that no thread of the test run is copied."""

FORKING = """
import os, signal, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the very point here

def run(body):
    signal.alarm(50)  # a child that hangs dies of this
    try:
        body()
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(1)
    os._exit(0)

def fork(body, by=os.fork):
    child = by()
    if child == 0:
        run(body)
    return child

def join(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
"""What such a script begins with: how to run a function in a child, and how to wait for it to succeed."""
