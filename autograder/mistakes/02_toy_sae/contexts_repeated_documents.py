"""Several places of one text."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "top_contexts"
EXPECT = "loses"


def top_contexts(strengths, documents, tokens, skip, n):
    places = []
    for place in strengths.argsort(descending=True).tolist():
        if len(places) == n or strengths[place] <= 0:
            break
        if int(tokens[place]) not in skip:
            places.append(place)
    return places
