"""Make the archives of the example in the current directory: one good, the others as attackers make them."""

import io
import tarfile
import zipfile


def tar(name, *entries):
    """A tar of entries: a name with a content, or with what it is a link to."""
    with tarfile.open(name, "w:gz" if name.endswith("gz") else "w") as archive:
        for path, content, link in entries:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info, io.BytesIO(content))


tar("good.tar.gz", ("notes/a.txt", b"a\n", ""), ("b.txt", b"b\n", ""))
tar("dotdot.tar", ("../planted", b"x\n", ""))
tar("link.tar", ("dir", b"", ".."), ("dir/planted", b"x\n", ""))
with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
    bomb.writestr("zeros", bytes(64 << 20))
with open("broken.zip", "wb") as file:
    file.write(b"PK\3\4 and nothing more")
