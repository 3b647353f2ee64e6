# The grader for instructors on macOS and Windows, where the sandbox's Linux is missing. How to build it, what
# `docker run` must be told and which level of isolation results: docs/instructor-guide.md, section 1.
FROM debian:12-slim

# What ./setup.sh would install by itself, in a layer that an edit of the course leaves alone. The versions are
# those of the Debian release above, which mends them for security: a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        bubblewrap git libseccomp2 make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# The same set-up as outside: the packages and nothing else, so that an edit of a notebook does not repeat it.
# An index with PyTorch's CPU build makes the image smaller by gigabytes: --build-arg PIP_EXTRA_INDEX_URL=…
WORKDIR /course
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1
COPY setup.sh constraints.txt ./
COPY lib lib
COPY autograder autograder
RUN ./setup.sh

COPY . .
ENV PATH="/course/.venv/bin:$PATH"

# The class's folder comes from outside; the commands look for it where they are typed.
VOLUME /class
WORKDIR /class
ENTRYPOINT ["autograder"]
CMD ["--help"]
