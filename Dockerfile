# One image for every part of the service, with and without a GPU (torch from the default index carries CUDA).
FROM python:3.12-slim

# HOME: the root file system is read-only. USER: some libraries ask for a name, which an arbitrary uid has not.
ENV PYTHONUNBUFFERED=1 PIP_ROOT_USER_ACTION=ignore HOME=/tmp USER=hpo

# All wheels, nothing is compiled: 6 GB that are fetched again only when one of these two files changes.
WORKDIR /app
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/var/cache/pip \
    mkdir hpo models objectives && touch README.md hpo/__init__.py models/__init__.py objectives/__init__.py \
    && pip install --constraint constraints.txt --cache-dir /var/cache/pip --editable '.[postgres]'

COPY README.md ./
COPY models models
COPY objectives objectives
COPY hpo hpo
COPY studies studies
# Readable whatever the umask of the checkout was.
RUN chmod -R a+rX . && python -m compileall -q hpo models objectives && install -d -o 1000 -g 1000 /runs
COPY --chmod=755 deploy/entrypoint /usr/local/bin/entrypoint

# Where study files are found by their name; nothing is imported from here.
WORKDIR /app/studies
USER 1000:1000
ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["--help"]
