"""Takes the n strongest places first and removes repetitions afterwards."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "top_contexts"
EXPECT = "loses"


def top_contexts(strengths, documents, tokens, skip, n):
    places, seen = [], set()
    for place in strengths.topk(min(n, len(strengths))).indices.tolist():
        document = int(documents[place])
        if strengths[place] > 0 and int(tokens[place]) not in skip and document not in seen:
            places.append(place)
            seen.add(document)
    return places
