"""Special tokens are not skipped."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "top_contexts"
EXPECT = "loses"


def top_contexts(strengths, documents, tokens, skip, n):
    places, seen = [], set()
    for place in strengths.argsort(descending=True).tolist():
        document = int(documents[place])
        if len(places) == n or strengths[place] <= 0:
            break
        if document not in seen:
            places.append(place)
            seen.add(document)
    return places
