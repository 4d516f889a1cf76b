FROM scratch
COPY . /
EXPOSE 8008 8448
ENTRYPOINT ["/launcher"]
