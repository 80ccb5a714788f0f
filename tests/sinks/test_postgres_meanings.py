"""What PostgreSQL's errors mean: by their SQLSTATE, from the narrowest that is known to what nobody has heard of."""

from __future__ import annotations

import pytest
from psycopg import errors

from domstat_sinks.postgres.meanings import Meaning, meaning_of


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (errors.AdminShutdown, Meaning.LATER),
        (errors.CannotConnectNow, Meaning.LATER),
        (errors.QueryCanceled, Meaning.LATER),
        (errors.SerializationFailure, Meaning.LATER),
        (errors.DeadlockDetected, Meaning.LATER),
        (errors.LockNotAvailable, Meaning.LATER),
        (errors.TooManyConnections, Meaning.LATER),
        (errors.ReadOnlySqlTransaction, Meaning.LATER),
        (errors.UndefinedTable, Meaning.LATER),
        (errors.UndefinedColumn, Meaning.LATER),
        (errors.DiskFull, Meaning.MENDED),
        (errors.InvalidPassword, Meaning.MENDED),
        (errors.InvalidCatalogName, Meaning.MENDED),
        (errors.IoError, Meaning.MENDED),
        (errors.InsufficientPrivilege, Meaning.STOP),
        (errors.FeatureNotSupported, Meaning.STOP),
        (errors.NumericValueOutOfRange, Meaning.REFUSED),
        (errors.CheckViolation, Meaning.REFUSED),
        (errors.ProgramLimitExceeded, Meaning.REFUSED),
        (errors.RaiseException, Meaning.REFUSED),
    ],
)
def test_an_error_has_its_meaning(error: type[errors.Error], meaning: Meaning) -> None:
    assert meaning_of(error.sqlstate) is meaning


def test_what_has_no_state_or_none_that_is_known_is_tried_again() -> None:
    assert meaning_of(None) is Meaning.LATER
    assert meaning_of("Z9999") is Meaning.LATER
