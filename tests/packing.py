"""ZIP archives that claim what they do not hold."""

import struct
import zipfile
import zlib


def deflated(content):
    """A raw deflate stream."""
    compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compress.compress(content) + compress.flush()


def zip_of(path, packed, size, crc, method=zipfile.ZIP_DEFLATED, name="x.npy"):
    """A ZIP archive of one member that claims `size` bytes of checksum `crc`, whatever it holds."""
    fields = struct.pack("<HHHHHIII", 20, 0, method, 0, 33, crc, len(packed), size)
    lengths = struct.pack("<HH", len(name), 0)
    local = b"PK\x03\x04" + fields + lengths + name.encode() + packed
    central = b"PK\x01\x02" + struct.pack("<H", 20) + fields + lengths + bytes(14) + name.encode()
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + b"PK\x05\x06" + end)
    return path
