module router

go 1.24

// What joins net/http to wasi:http is a package of the starter next door.
require starter v0.0.0

replace starter => ../starter
