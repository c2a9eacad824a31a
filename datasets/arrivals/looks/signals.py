"""EDF and BDF by edfio, WFDB headers by the engine's reader: as many samples as the header claims."""

from pathlib import Path

from datasets.arrivals.found import Found, Refused, Shape

HEADER = 256  # bytes of EDF's fixed header, and of each signal's


def look_edf(path: Path, form: str) -> Found:
    """The header, then the size of the records that it claims. Raises Refused."""
    size, width = path.stat().st_size, 3 if form == "bdf" else 2
    try:
        with path.open("rb") as stream:
            fixed = stream.read(HEADER)
            count = int(fixed[252:256])
            if not 1 <= count <= 4096:
                raise Refused("damaged", format="EDF")
            described = stream.read(HEADER * count)
        if len(fixed) < HEADER or len(described) < HEADER * count:
            raise Refused("truncated")
        records, seconds = int(fixed[236:244]), float(fixed[244:252])
        each = [int(described[216 * count + 8 * k : 216 * count + 8 * k + 8]) for k in range(count)]
        header = int(fixed[184:192])
    except ValueError as error:
        raise Refused("damaged", format="EDF") from error
    if header != HEADER * (count + 1) or min(each) < 0 or sum(each) < 1 or not 0 <= seconds < 1e9:
        raise Refused("wrong_size")
    there = size - header
    whole = records * sum(each) * width
    if records < 1 or there < whole:
        raise Refused("truncated")
    if there > whole:
        raise Refused("wrong_size")
    return _opened(path, form, count, records * seconds)


def _opened(path: Path, form: str, count: int, seconds: float) -> Found:
    import edfio

    edf = edfio.read_bdf(path) if form == "bdf" else edfio.read_edf(path, lazy_load_data=True)
    channels = sum(signal.sampling_frequency > 0 for signal in edf.signals)
    if not channels:
        raise Refused("damaged", format="EDF")
    return Found(Shape.SIGNAL, form, {"channels": channels, "seconds": round(seconds, 3)})
