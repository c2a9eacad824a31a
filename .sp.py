import re, time, numpy as np, pandas as pd, engine, tempfile, json
df=pd.read_csv("/work/shared/data/mtsamples500/mtsamples500.csv")
H=re.compile(r"(?:(?<=^)|(?<=,)|(?<=\. ))\s*([A-Z][A-Z &/'-]{2,50})\s*:")
texts,spans=[],[]
for t in df.text.astype(str):
    t=t[:3000]; out=[];pos=0;sp=[];L=0
    for m in H.finditer(t):
        pre=t[pos:m.start(1)].lower(); out.append(pre); L+=len(pre)
        h=m.group(1).strip().lower(); sp.append([L,L+len(h),"heading"]); out.append(h); L+=len(h); pos=m.end()
    out.append(t[pos:].lower()); texts.append("".join(out).replace(":"," ")); spans.append(json.dumps(sp))
F=pd.DataFrame({"note":texts,"marks":spans}); print(F.marks.map(lambda s:len(json.loads(s))).describe()[["mean","max"]], F.note[0][:200])
F=F[F.marks!="[]"].reset_index(drop=True); print(len(F))
tr,te=F.iloc[:300],F.iloc[300:]
R=engine.Recipe(target="marks",task="spans",settings={"text":"note","penalty":1.0})
t=time.time(); s=engine.fit_candidates(tr,R); print("fit",time.time()-t, len(s.best.kept))
for c in s.candidates: print(c.name,c.status,c.reason,c.validation_score,c.validation_interval,c.fit_seconds)
print(s.baseline.validation_score,[p.code for p in s.problems])
t=time.time(); rep=engine.evaluate(s.best,te,bootstrap=200); print("eval",time.time()-t)
for k,v in rep.metrics.items(): print(k,v)
print(rep.per_class[0]["f1"],rep.baseline)
json.dumps(rep.to_dict(),allow_nan=False)
p=s.best.predict(te.iloc[:20]); print([(te.note.iloc[0][x.start:x.end],round(x.probability,3),x.low,x.high) for x in p.value[0]][:8])
d=tempfile.mkdtemp()+"/m"; engine.save(s.best,d); g=engine.load(d); q=g.predict(te.iloc[:20]); assert p.value.tolist()==q.value.tolist()
r=engine.explain(s.best,te.iloc[:1])[0]; print(r.score, sum(c["contribution"] for c in r.contributions), r.words)
