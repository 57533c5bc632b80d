"""Hashes as DVC records them, against DVC itself."""

from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree
from dvc_objects.fs.local import LocalFileSystem

from fmri2img.provenance.dvc_hash import hash_as_dvc


def test_a_file_and_a_folder_hash_as_dvc_has_it(tmp_path):
    files = {"b.jpg": b"1", "a/c.jpg": b"22", "a.b/d": b"", "a/é.txt": b"333"}
    tree = Tree()
    for name, content in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        md5 = file_md5(str(path), LocalFileSystem())
        assert hash_as_dvc(path) == md5
        tree.add(tuple(name.split("/")), Meta(), HashInfo("md5", md5))
    tree.digest()
    assert hash_as_dvc(tmp_path / "folder") == tree.hash_info.value
    assert tree.hash_info.value.endswith(".dir")
    (tmp_path / "folder/b.jpg").write_bytes(b"2")
    assert hash_as_dvc(tmp_path / "folder") != tree.hash_info.value
