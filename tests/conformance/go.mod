module luxchat/conformance

go 1.25
