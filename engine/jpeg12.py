"""Twelve-bit JPEG (DICOM's JPEG Extended) through GDCM, for pydicom.

pydicom sends these frames to pylibjpeg-libjpeg alone, which is GPL-3. GDCM decodes them too, within one grey level of it (the
rounding of the cosine transform); only pydicom's own plugin for GDCM declines. Written as its guide for decoding plugins asks.
"""

from typing import Any

JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
DECODER_DEPENDENCIES = {JPEG_EXTENDED: ("gdcm>=3.0.10",)}
LABEL = "gdcm12"


def is_available(uid: str) -> bool:
    """Whether GDCM is there for this transfer syntax."""
    try:
        import gdcm  # noqa: F401  that it loads is asked, not only that it is installed
    except ImportError:
        return False
    return uid in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: Any) -> bytes:
    """One frame's pixels, native, as pydicom's DecodeRunner expects them. Raises RuntimeError when GDCM can't."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(runner.photometric_interpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(JPEG_EXTENDED)))
    bits = runner.bits_stored
    image.SetPixelFormat(
        gdcm.PixelFormat(
            runner.samples_per_pixel, runner.bits_allocated, bits, bits - 1, runner.pixel_representation
        )
    )
    buffer = image.GetBuffer()
    if not buffer:
        raise RuntimeError("GDCM could not decode the frame")
    return bytes(buffer.encode("utf-8", "surrogateescape"))


def register() -> None:
    """Let pydicom try this decoder after its own; asking again does nothing."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(JPEG_EXTENDED))

    if LABEL not in decoder.available_plugins:
        try:
            decoder.add_plugin(LABEL, ("engine.jpeg12", "decode_frame"))
        except ValueError:  # another thread was first, or GDCM is not installed and it is known already
            return
