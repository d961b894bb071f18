"How much the tests do: everything, or with `--quick`, as `make test` says, what a person waits for"

QUICK = False # `conftest.py` says so before the tests are read


def few(
    quick:int, # How many, or how large, where a person waits
    full:int,  # and in `make test-all`
)->int:
    "`quick` under `make test`, otherwise `full`"
    return quick if QUICK else full
