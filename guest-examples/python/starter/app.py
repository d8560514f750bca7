"""What the component exports. The application is in `handler.py`, which knows nothing of components."""

import wasi_http
from handler import application

wasi_http.install_urllib()

IncomingHandler = wasi_http.serve(application)
