"""Sounds with their texts as data: of folders, tfds and memory, or generated; checked, divided."""

from jaxmodels.data.transcripts.loading import (
    TranscriptConfig,
    is_streamed,
    load_transcripts,
    transcripts_elsewhere,
)
from jaxmodels.data.transcripts.transcript_data import TranscriptData, read_recordings

__all__ = [
    "TranscriptConfig",
    "TranscriptData",
    "is_streamed",
    "load_transcripts",
    "read_recordings",
    "transcripts_elsewhere",
]
