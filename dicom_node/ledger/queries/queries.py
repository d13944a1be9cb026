"""What the ledger is asked: it changes nothing."""

from __future__ import annotations

from dicom_node.ledger.queries.of_analyses import AnalysisQueries
from dicom_node.ledger.queries.of_events import EventQueries
from dicom_node.ledger.queries.of_results import ResultQueries
from dicom_node.ledger.queries.of_studies import StudyQueries
from dicom_node.ledger.queries.of_withdrawals import WithdrawalQueries


class Queries(StudyQueries, ResultQueries, EventQueries, AnalysisQueries, WithdrawalQueries):
    """Every question to the ledger."""
