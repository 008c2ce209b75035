"""Documents with summaries as data: of tfds, JSON lines and memory; checked, divided, as tokens."""

from jaxmodels.data.documents.document_data import DocumentData, Documents
from jaxmodels.data.documents.loading import DocumentConfig, load_documents
from jaxmodels.data.documents.sentence_splitting import split_sentences

__all__ = ["DocumentConfig", "DocumentData", "Documents", "load_documents", "split_sentences"]
