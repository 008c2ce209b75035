"""The decoder of a picture's record to the columns that a model is given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxmodels.data.dataset import Draw, Record
from jaxmodels.data.images.crops import AREA, central_crop, random_resized_crop
from jaxmodels.data.images.decoding import decode_image
from jaxmodels.data.images.resize import resize_image


@dataclass(frozen=True)
class ImageDecoder:
    """A `Decode` of encoded pictures: columns "image" and, where they have classes, "label".

    crop: side of the square that is cut out, at random in training and else the centre; 0: none is.
    scale: smallest and largest share of the area that a random crop keeps.
    resize: side of the square that the whole image is resized to; 0: it is not resized.
    """

    channels: int
    dtype: np.dtype
    labelled: bool
    resize: int = 0
    crop: int = 0
    scale: tuple[float, float] = AREA

    def __call__(self, record: Record, draw: Draw | None = None) -> dict[str, Any]:
        """Decodes a record.

        Raises:
          BadRecord: it cannot be decoded.
        """
        columns: dict[str, Any] = {"image": self._image(record["image"], draw)}
        if self.labelled:
            columns["label"] = record["label"]
        return columns

    def _image(
        self, encoded: bytes, draw: Draw | None
    ) -> Shaped[np.ndarray, "height width channels"]:
        kind = self.channels, self.dtype
        if not self.crop:
            image = decode_image(encoded, *kind)
            return resize_image(image, self.resize) if self.resize else image
        if draw is None:
            return central_crop(encoded, self.crop, *kind)
        return random_resized_crop(
            encoded, self.crop, draw.seed, draw.position, *kind, scale=self.scale
        )
