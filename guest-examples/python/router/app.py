"""What the component exports. The application is in `router.py`, which knows nothing of components."""

import wasi_http
from router import application

IncomingHandler = wasi_http.serve(application)
