"""Ways in which a file may be wrong; each takes the path of a valid file and a random generator,
and leaves something else there.
"""

import gzip
import json
import os
import shutil
from functools import partial

import h5py
import numpy as np


def truncate(path, rng):
    """A transfer that broke off."""
    size = path.stat().st_size
    os.truncate(path, int(rng.integers(0, max(size, 1))))


def empty(path, rng):
    path.write_bytes(b"")


def flip_bits(path, rng):
    """A damaged disk."""
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), size=int(rng.integers(1, 9))):
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def flip_bits_at_the_start(path, rng):
    """The same where headers are."""
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, min(len(content), 512), size=4):
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def zero_a_block(path, rng):
    """A page that was never written."""
    content = bytearray(path.read_bytes())
    start = int(rng.integers(len(content)))
    stop = min(start + max(len(content) // 10, 1), len(content))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(content)


def swap_blocks(path, rng):
    """Parts of a transfer in the wrong order."""
    content = path.read_bytes()
    cut = int(rng.integers(1, max(len(content), 2)))
    path.write_bytes(content[cut:] + content[:cut])


def append(path, rng):
    with path.open("ab") as file:
        file.write(rng.bytes(64))


def random_bytes(path, rng):
    path.write_bytes(rng.bytes(4096))


def a_page_of_a_proxy(path, rng):
    path.write_text("<!DOCTYPE html>\n<html><body>Please log in</body></html>\n" * 40)


def a_pointer(path, rng):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n")


def a_folder(path, rng):
    path.unlink()
    path.mkdir()


def a_pipe(path, rng):
    path.unlink()
    os.mkfifo(path)


def a_device(path, rng):
    path.unlink()
    path.symlink_to("/dev/zero")


def a_link_to_nothing(path, rng):
    path.unlink()
    path.symlink_to("gone")


def a_link_to_itself(path, rng):
    path.unlink()
    path.symlink_to(path.name)


def a_bomb(path, rng):
    """Little that unpacks to much."""
    path.write_bytes(gzip.compress(bytes(1 << 27), 9))


def utf_16(path, rng):
    path.write_bytes(path.read_text(encoding="utf-8", errors="replace").encode("utf-16"))


def latin_1(path, rng):
    path.write_bytes("Größe\n".encode("latin-1") + path.read_bytes())


def carriage_returns(path, rng):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def without_a_line(path, rng):
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[int(rng.integers(len(lines)))]
    path.write_bytes(b"".join(lines))


def a_word_for_a_number(path, rng):
    content = path.read_bytes()
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    if digits:
        place = digits[int(rng.integers(len(digits)))]
        path.write_bytes(content[:place] + b"x" + content[place + 1 :])


BYTES = (
    truncate,
    empty,
    flip_bits,
    flip_bits_at_the_start,
    zero_a_block,
    swap_blocks,
    append,
    random_bytes,
    a_page_of_a_proxy,
    a_pointer,
    a_folder,
    a_pipe,
    a_device,
    a_link_to_nothing,
    a_link_to_itself,
    a_bomb,
)
TEXT = (utf_16, latin_1, carriage_returns, without_a_line, a_word_for_a_number)
# What no reader can see in a format without checksums; DVC's hashes and the receipts do.
MAY_GO_UNSEEN = (
    flip_bits,
    flip_bits_at_the_start,
    zero_a_block,
    append,
    without_a_line,
    a_word_for_a_number,
    latin_1,
)

# Nor in lists of lines that do not say how many they are; who joins them with other files does.
CUT = (truncate, swap_blocks)
_VALUES = (None, [], {}, "text", -1, 10**30, 1.5, True, [None], {"a": {"b": 1}})


def _places(value, place=()):
    """Yield the place of every value in a JSON document."""
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else []
    for name, item in items:
        yield from _places(item, (*place, name))


def json_cases(path):
    """Yield (name, change): each value missing, and each replaced by one of another kind."""
    document = json.loads(path.read_text(encoding="utf-8"))
    for place in list(_places(document))[:60]:
        for number, value in enumerate(("missing", *_VALUES)):

            def change(path, rng, place=place, value=value):
                changed = json.loads(path.read_text(encoding="utf-8"))
                inner = changed
                for name in place[:-1]:
                    inner = inner[name]
                if value == "missing":
                    del inner[place[-1]]
                else:
                    inner[place[-1]] = value
                path.write_text(json.dumps(changed), encoding="utf-8")

            yield f"{'.'.join(place)} {number}", change
    for text in ("NaN", "[" * 5000, '{"a": 1, "a": 2', "null", '"text"'):
        yield f"text {text[:9]}", partial(_write, text=text)


def _write(path, rng, text):
    path.write_text(text)


def _renewed(file, name, values):
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


def _another_type(file, name):
    values = file[name][()]
    _renewed(file, name, values.astype("S8") if values.dtype.kind in "iuf" else np.zeros(3))


def _one_row_less(file, name):
    values = file[name][()]
    _renewed(file, name, values[:-1] if values.ndim else np.zeros((2, 2)))


def _one_more_axis(file, name):
    _renewed(file, name, file[name][()][None])


def _reversed(file, name):
    values = file[name][()]
    _renewed(file, name, values[::-1] if values.ndim else values)


def _not_finite(file, name):
    values = file[name][()]
    if values.dtype.kind == "f":
        values = np.full_like(values, np.nan)
    _renewed(file, name, values)


def _no_rows(file, name):
    values = file[name][()]
    _renewed(file, name, values[:0] if values.ndim else values)


def _missing(file, name):
    del file[name]


def _a_group(file, name):
    del file[name]
    file.create_group(name)


def _a_link_out(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/etc/hostname", "/x")


def _a_link_around(file, name):
    del file[name]
    file[name] = h5py.SoftLink(f"/{name}")


def _bytes_of_another_file(file, name):
    values = file[name]
    shape, dtype = values.shape, values.dtype
    del file[name]
    size = int(np.prod(shape)) * dtype.itemsize
    file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, max(size, 1))])


def _huge(file, name):
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, (1 << 30, *shape[1:]), dtype, chunks=(1, *shape[1:]))


_OF_ARRAYS = (
    _another_type,
    _one_row_less,
    _one_more_axis,
    _reversed,
    _not_finite,
    _no_rows,
    _missing,
    _a_group,
    _a_link_out,
    _a_link_around,
    _bytes_of_another_file,
    _huge,
)


def hdf5_cases(path):
    """Yield (name, change): each array and attribute made wrong in each way."""
    with h5py.File(path) as file:
        names, attributes = list(file), list(file.attrs)
    for name in names:
        for damage in _OF_ARRAYS:

            def change(path, rng, name=name, damage=damage):
                with h5py.File(path, "r+") as file:
                    damage(file, name)

            yield f"{name} {damage.__name__}", change
    for name in attributes:
        for value in ("missing", "{", "[]", "null", 7, np.zeros(3), '{"subject": 3}'):

            def set_value(path, rng, name=name, value=value):
                with h5py.File(path, "r+") as file:
                    del file.attrs[name]
                    if not isinstance(value, str) or value != "missing":
                        file.attrs[name] = value

            yield f"attribute {name} {value!s:.9}", set_value


def copied(source, folder):
    """Return a copy of a file, or of a folder with it, under the same name."""
    target = folder / source.name
    if target.is_symlink() or target.exists():
        shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink()
    shutil.copyfile(source, target)
    return target
