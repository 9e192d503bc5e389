"""`python -m tests.reference`: write `docs/reference` anew."""

from tests.reference import FOLDER, PAGES, write

write()
print(f"{len(PAGES)} pages in {FOLDER.name}/")
