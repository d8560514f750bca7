module starter

go 1.24
